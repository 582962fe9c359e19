/**
 * Puts the parts together: host and client feed the store, the store feeds the views.
 */

import type { Client } from './api/client';
import { h } from './dom';
import type { Host } from './host';
import { applyTheme } from './scale/colour';
import { createActions, type Actions } from './store/actions';
import { linkOf, preferencesOf, rememberedModules, sessionOf, startOf } from './store/link';
import { createFollower } from './store/follow';
import { createLoader } from './store/loader';
import { shownSides } from './store/selectors';
import { initialState, type State } from './store/state';
import { createStore, type Store } from './store/store';
import { createCharts } from './views/charts/charts';
import { createControls } from './views/controls';
import { createDivider } from './views/divider';
import { createEmpty, createRunState } from './views/empty';
import { createExportMenu } from './views/exportmenu';
import { createFlags } from './views/flags/flags';
import { createGlossary } from './views/glossary';
import { createHeader } from './views/header';
import { createHeatmap } from './views/heatmap/heatmap';
import { createInspector } from './views/inspector';
import { applyLayout } from './views/layout';
import { createNews } from './views/news';
import { createOptions } from './views/options';
import { createProfile } from './views/profile';
import { createRuleCard } from './views/rulecard';
import { createRuns } from './views/runs';
import { createRunTable } from './views/runtable';
import { createTimebar } from './views/timebar';
import { STYLE } from './style';

/** Up to so many variables leave room for more below the heat-map. */
const SMALL = 8;

export function startApp(body: HTMLElement, host: Host, client: Client): void {
  const root = document.documentElement;
  const store = createStore<State>(initialState(host.theme()));
  let refresh = (): void => undefined;
  const actions = createActions(store, () => {
    refresh();
  });
  store.set(startOf(host.readLink(), host.readPreferences()));
  store.set({ remembered: rememberedModules(host.readSession()) });
  document.head.append(h('style', {}, STYLE));
  document.title = 'Gradient Health';
  root.lang = 'en';
  applyLayout(root);
  const update = buildPage(body, actions, client, host);
  store.subscribe((state) => {
    if (root.dataset.theme !== state.theme) applyTheme(root, state.theme);
    if (state.visible) update(state);
  });
  applyTheme(root, store.get().theme);
  update(store.get());

  refresh = createLoader(store, client, () => host.runs()).refresh;
  createFollower(store, client);
  host.onTheme((theme) => {
    store.set({ theme });
  });
  host.onVisible((visible) => {
    store.set({ visible });
  });
  host.onReload(() => {
    refresh();
  });
  linkBothWays(store, host, actions);
}

/** Three panes: what is wrong | everything over steps | everything at the chosen step. */
function buildPage(
  body: HTMLElement,
  actions: Actions,
  client: Client,
  host: Host,
): (state: State) => void {
  const page = h('div', { class: 'page' });
  const left = h('div', { class: 'pane pane-left' });
  const middle = h('div', { class: 'pane pane-middle' });
  const right = h('div', { class: 'pane pane-right', id: 'numbers' });
  const fold = createFold(page);
  const exportMenu = createExportMenu(page, client);
  const options = createOptions(actions);
  const help = createGlossary(body);
  const header = createHeader(page, actions, ...options.elements, exportMenu.element, help);
  page.append(h('main', { class: 'panes' }, left, middle, right));
  const empty = createEmpty(body, actions);
  body.append(page);
  const runs = createRuns(left, actions);
  const flags = createFlags(left, actions, (link) => host.addressOf(link));
  const runState = createRunState(middle, actions);
  const controls = createControls(middle, actions, fold);
  const timebar = createTimebar(middle, actions);
  const heatmap = createHeatmap(middle, actions);
  const profile = createProfile(middle, actions);
  const divider = createDivider('Height of the heat-map', 0.5, (share) => {
    middle.style.setProperty('--split', `${100 * share}%`);
  });
  middle.append(divider);
  const views = [
    header,
    exportMenu,
    options,
    runs,
    flags,
    runState,
    controls,
    timebar,
    heatmap,
    profile,
    createCharts(middle, actions),
    createInspector(right, actions),
    createRuleCard(body, actions),
    createRunTable(body, actions),
    createNews(page, actions),
    empty,
  ];
  return (state) => {
    const anything = state.runs !== null && state.runs.length > 0;
    body.dataset.phase = anything ? 'data' : 'empty';
    const open = state.run?.variables.some(({ path }) => path === state.selectedVariable) ?? false;
    const [selected] = shownSides(state);
    page.dataset.frames = (selected?.run?.steps.length ?? 0) > 0 ? 'some' : 'none';
    page.dataset.model = (state.run?.variables.length ?? 0) <= SMALL ? 'small' : 'large';
    page.dataset.detail = open ? 'open' : 'closed';
    for (const view of views) view.update(state);
  };
}

/** In a narrow window the numbers of a variable are folded away: the picture needs the room. */
function createFold(page: HTMLElement): HTMLElement {
  const button = h(
    'button',
    {
      class: 'fold',
      type: 'button',
      'aria-controls': 'numbers',
      'aria-expanded': 'false',
      onclick: () => {
        const open = page.dataset.numbers !== 'open';
        page.dataset.numbers = open ? 'open' : 'folded';
        button.ariaExpanded = String(open);
      },
    },
    'Numbers',
  );
  return button;
}

/** The address follows the selection, and the selection the address. */
function linkBothWays(store: Store<State>, host: Host, actions: Actions): void {
  let written = '';
  let kept = JSON.stringify(host.readPreferences());
  store.subscribe((state) => {
    const preferences = preferencesOf(state);
    if (kept === JSON.stringify(preferences)) return;
    kept = JSON.stringify(preferences);
    host.writePreferences(preferences);
  });
  let closed: ReadonlySet<string> | null = null;
  store.subscribe((state) => {
    if (state.run === null || state.collapsed === closed) return;
    closed = state.collapsed;
    host.writeSession(sessionOf(state));
  });
  store.subscribe((state) => {
    const link = linkOf(state);
    const text = JSON.stringify(link);
    // Not before the first data: an address read on load must survive an empty server.
    if (state.run === null || text === written) return;
    written = text;
    host.writeLink(link);
  });
  host.onLink((link) => {
    // Another tab's address may hold nothing of ours.
    if (Object.keys(link).length === 0) return;
    const same = Object.entries(linkOf(store.get())).every(
      ([key, value]) => (link[key] ?? '') === value,
    );
    if (!same) actions.followLink(link);
  });
}
