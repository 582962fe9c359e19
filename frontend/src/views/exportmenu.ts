/** The menu that saves what is shown: numbers, report and pictures. */

import type { Client } from '../api/client';
import { fill, h, type Child } from '../dom';
import * as exports from '../export/exports';
import type { State } from '../store/state';
import { createPopup } from './popup';
import type { View } from './view';

export interface ExportMenu extends View {
  readonly element: HTMLElement;
}

export function createExportMenu(page: HTMLElement, client: Client): ExportMenu {
  let state: State | null = null;
  const message = h('p', { class: 'note', role: 'status' });
  const list = h('div', { class: 'export-list' });
  const popup = createPopup('export', 'Export', list, message);

  async function run(make: (state: State) => Promise<exports.File>): Promise<void> {
    if (!state) return;
    message.textContent = 'Writing …';
    try {
      const file = await make(state);
      exports.save(file);
      message.textContent = [`${file.name} is saved.`, file.note].filter(Boolean).join(' ');
    } catch (error) {
      message.textContent = error instanceof Error ? error.message : String(error);
    }
  }

  const button = (
    label: string,
    name: string | null,
    make: (state: State) => Promise<exports.File>,
    disabled = false,
  ): HTMLElement =>
    h(
      'button',
      {
        type: 'button',
        'aria-label': name,
        disabled,
        onclick: () => {
          void run(make);
        },
      },
      label,
    );

  function row(label: string, ...buttons: Child[]): HTMLElement {
    return h('div', { class: 'export-row' }, h('span', {}, label), buttons);
  }

  function draw(now: State): void {
    const pictures = [...page.querySelectorAll<HTMLElement>('[data-picture]')].filter((element) =>
      element.checkVisibility(),
    );
    fill(
      list,
      h('h2', {}, 'Numbers'),
      row(
        'The statistic shown',
        button('CSV', 'CSV of the statistic shown', (s) => exports.statisticCsv(s, client)),
      ),
      row(
        'The selected variable',
        button(
          'CSV',
          'CSV of the selected variable',
          (s) => exports.variableCsv(s, client),
          now.selectedVariable === null,
        ),
      ),
      h('h2', {}, 'Report'),
      row(
        now.compareRuns.length === 0 ? 'This run' : 'These runs',
        button('JSON', 'JSON report of what is shown', (s) => exports.report(s, client, false)),
      ),
      row(
        'All runs',
        button('JSON', 'JSON report of all runs', (s) => exports.report(s, client, true)),
      ),
      pictures.length > 0 && h('h2', {}, 'Pictures'),
      pictures.map((element) => {
        const name = element.dataset.picture ?? '';
        return row(
          name,
          button('PNG', `PNG of ${name}`, (s) => exports.picture(s, element, 'png')),
          button('SVG', `SVG of ${name}`, (s) => exports.picture(s, element, 'svg')),
        );
      }),
    );
  }

  popup.element.addEventListener('toggle', () => {
    message.textContent = '';
    if (popup.element.open && state) draw(state);
  });

  return {
    element: popup.element,
    update(next) {
      state = next;
    },
    destroy() {
      popup.destroy();
    },
  };
}
