import { afterEach, describe, expect, it, vi } from 'vitest';
import { drawCells } from '../src/draw/heatmap';
import { drawHistogramBars, drawHistogramMap, drawRidges, ridgeBase } from '../src/draw/histogram';
import { drawChart, type Chart } from '../src/draw/lines';
import { drawMany, type Pen } from '../src/draw/pen';
import { drawProfile, profileHeights } from '../src/draw/profile';
import { toSvg } from '../src/export/picture';
import { createRecorder, type Means } from '../src/export/vectors';
import { createStepAxis } from '../src/scale/axis';
import { PALETTES, ramp } from '../src/scale/colour';
import { type Histogram, type HistogramFrame } from '../src/scale/histogram';
import { NAN, NONFINITE } from '../src/scale/nonfinite';
import { createDepthAxis, profileOf } from '../src/scale/profile';
import { reduceRow, seriesGrid } from '../src/scale/reduce';
import { buildRows } from '../src/scale/rows';
import type { Variable } from '../src/api/types';

afterEach(() => {
  vi.unstubAllGlobals();
});

const palette = PALETTES.light;
const NAMED = '<script>alert("&")</script>';
const means: Means = {
  measure: (text) => 6 * text.length,
  image: ({ width, height }) => `data:image/png;base64,${width}x${height}`,
};

function recorded(draw: (pen: Pen) => void): string {
  const recorder = createRecorder(means);
  draw(recorder);
  return recorder.markup();
}

/** Attributes of all elements of a name. */
function elements(svg: string, name: string): Record<string, string>[] {
  return [...svg.matchAll(new RegExp(`<${name} ([^>]*?)/?>`, 'g'))].map(([, text = '']) =>
    Object.fromEntries(
      [...text.matchAll(/([\w-]+)="([^"]*)"/g)].map(([, key = '', value = '']) => [key, value]),
    ),
  );
}

const pathsOf = (svg: string, attributes: Record<string, string>): string[] =>
  elements(svg, 'path').flatMap((path) =>
    Object.entries(attributes).every(([key, value]) => path[key] === value) ? [path.d ?? ''] : [],
  );

const points = (d: string): number[][] =>
  [...d.matchAll(/[ML]([-\d.]+) ([-\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)]);

const hundredths = (value: number): number => Math.round(100 * value) / 100;

describe('a line chart as vectors', () => {
  const axis = createStepAxis([0, 10, 20, 30], 40, 'frames');
  const chart = (values: number[], marks: number[] | null = null): Chart => ({
    domain: { kind: 'linear', low: 0, high: 1 },
    lines: [
      {
        strip: reduceRow(
          seriesGrid(Float32Array.from(values), marks && Uint8Array.from(marks)),
          [0],
          axis,
          'both',
        ),
        axis,
        colour: '#123456',
        dashed: true,
        stepped: false,
        shape: { kind: 'diamond', frames: [1] },
      },
    ],
    ticks: [{ value: 0.5, label: '0.5' }],
    guide: [],
  });

  it('goes through every value, and has no image', () => {
    const svg = recorded((pen) => {
      pen.translate(54, 0);
      drawChart(pen, chart([0.25, 1, 0.5, 0.75]), axis, 0, 110, palette);
    });
    const [line = '', shape = ''] = [
      ...pathsOf(svg, { stroke: '#123456', 'stroke-dasharray': '4 3', fill: 'none' }),
      ...pathsOf(svg, { fill: '#123456' }),
    ];
    // The room of 100 pixels lies between 5 and 105; a frame has ten columns.
    expect(points(line)).toEqual([
      [59, 80],
      [69, 5],
      [79, 55],
      [89, 30],
    ]);
    expect(points(shape)[0]).toEqual([69, 0]);
    expect(elements(svg, 'text')).toMatchObject([{ x: '48', 'text-anchor': 'end' }]);
    expect(svg).not.toContain('<image');
  });

  it('breaks where a value is NaN, which has its mark; a lone value is as wide as its frame', () => {
    const svg = recorded((pen) => {
      drawChart(pen, chart([0, NaN, 1, 1], [0, NONFINITE | NAN, 0, 0]), axis, 0, 110, palette);
    });
    const [line = ''] = pathsOf(svg, { stroke: '#123456' });
    expect(line).toMatch(/M0 105L10 105M25 5L35 5$/);
    const [cross = ''] = pathsOf(svg, { stroke: palette.nonfinite });
    expect(points(cross)).toHaveLength(4);
    expect(svg).not.toContain('NaN');
  });
});

describe('a layer profile as vectors', () => {
  it('has a dot at the value of every variable, the names of modules escaped', () => {
    const variables = [`${NAMED}/kernel`, 'b/kernel'].map(
      (path) => ({ path, module: path.slice(0, path.lastIndexOf('/')) }) as Variable,
    );
    const rows = buildRows(variables, new Set());
    const axis = createDepthAxis(rows, 400);
    const values = Float32Array.of(1e-4, 1e-2);
    const grid = {
      rows: 2,
      edges: Int32Array.of(0, 1),
      high: values,
      low: values,
      marks: null,
    };
    const domain = { kind: 'log', low: 1e-6, high: 1 } as const;
    const layer = {
      profile: profileOf(grid, 0, 0, 1),
      columns: Int32Array.of(0, 1),
      colour: '#123456',
      shape: 'square',
      band: true,
      shift: 0,
    } as const;
    const svg = recorded((pen) => {
      drawProfile(pen, axis, [layer], domain, { usual: [], limits: [] }, 400, 300, palette);
    });
    const y = profileHeights(domain, 300);
    const dots = pathsOf(svg, { fill: '#123456', stroke: palette.surface });
    expect(dots.map((d) => points(d)[0])).toEqual(
      axis.slots.map(({ from, to }, i) => [
        hundredths((from + to) / 2 - 4.5),
        hundredths(y(values[i] ?? 0) - 4.5),
      ]),
    );
    expect(svg).toContain('script&gt;');
    expect(svg).not.toContain('<script');
    expect(svg).not.toContain('<image');
  });
});

describe('histograms as vectors', () => {
  const frame = (positive: number[], nan = 0): HistogramFrame => ({
    positive,
    negative: [0, 0, 0, 0],
    zero: 0,
    nan,
    positiveInf: 0,
    negativeInf: 0,
    total: 100,
  });
  const histogram = (frames: readonly HistogramFrame[]): Histogram => ({
    first: -4,
    last: -1,
    frames,
  });
  const one = frame([0.1, 0.2, 0.4, 0.3]);

  it('are ridges through the share of every bin', () => {
    const ridges = [
      { frame: one, others: [], label: '1 & 2', chosen: null },
      { frame: frame([0, 0, 0, 0], 1), others: [], label: '3', chosen: 'second' },
    ] as const;
    const svg = recorded((pen) => {
      drawRidges(pen, histogram([one]), ridges, 218, 300, palette);
    });
    const base = ridgeBase(0, 2, 300);
    // 18 pixels are those of zero, 20 those of NaN; eight bins share the rest.
    const [, positive = ''] = pathsOf(svg, { stroke: palette.first, fill: palette.surface });
    expect(points(positive)).toEqual([
      [108, base],
      ...[0.1, 0.2, 0.4, 0.3].map((share, i) => [
        119.25 + 22.5 * i,
        hundredths(base - (60 * share) / 0.4),
      ]),
      [198, base],
    ]);
    expect(pathsOf(svg, { 'stroke-dasharray': '4 2' })).toHaveLength(2);
    expect(pathsOf(svg, { stroke: palette.nonfinite })).toHaveLength(1);
    expect(svg).toContain('>1 &amp; 2</text>');
    expect(svg).not.toContain('<image');
  });

  it('are bars', () => {
    const svg = recorded((pen) => {
      drawHistogramBars(pen, histogram([one]), one, [], 218, 118, palette);
    });
    const [bars = ''] = pathsOf(svg, { fill: palette.first });
    const heights = [...bars.matchAll(/v([\d.]+)/g)].map(([, height]) => Number(height));
    expect(heights).toEqual([24, 48, 96, 72]);
    expect(svg).not.toContain('<image');
  });

  it('are cells over steps, and one image when these are thousands', () => {
    const draw = (count: number) => {
      const steps = Array.from({ length: count }, (_, i) => i);
      const axis = createStepAxis(steps, 2 * count, 'frames');
      return recorded((pen) => {
        drawHistogramMap(pen, histogram(steps.map(() => one)), steps, axis, 0, 100, palette);
      });
    };
    const few = draw(5);
    expect(pathsOf(few, { fill: palette.first })).toHaveLength(20);
    expect(few).not.toContain('<image');
    const many = draw(2000);
    expect(elements(many, 'image')).toHaveLength(1);
    expect(pathsOf(many, { fill: palette.first })).toHaveLength(0);
    expect(many).toContain('>0</text>');
  });
});

describe('an SVG', () => {
  it('has the cells of a heat-map as one image, what is no colour as shapes', () => {
    const pixels = { putImageData: () => undefined };
    const canvas = { getContext: () => pixels };
    vi.stubGlobal('document', { createElement: () => canvas });
    vi.stubGlobal(
      'ImageData',
      class {
        readonly data: Uint8ClampedArray;
        constructor(width: number, height: number) {
          this.data = new Uint8ClampedArray(4 * width * height);
        }
      },
    );
    const axis = createStepAxis([0, 1, 2], 30, 'frames');
    const grid = seriesGrid(Float32Array.of(0, NaN, 1), Uint8Array.of(0, NAN | NONFINITE, 0));
    const strip = reduceRow(grid, [0], axis, 'both');
    const rows = [0, 20].map((y) => ({ strip, y, height: 18 }));
    const domain = { kind: 'log', low: 1e-3, high: 1 } as const;
    const svg = recorded((pen) => {
      drawCells(pen, rows, 0, 30, domain, ramp('light', 'log'), palette);
    });
    expect(elements(svg, 'image')).toMatchObject([
      { x: '0', y: '0', width: '30', height: '38', href: 'data:image/png;base64,30x38' },
    ]);
    expect(pathsOf(svg, { fill: palette.zero })).toEqual(['M0 0h10v18h-10z', 'M0 20h10v18h-10z']);
    expect(pathsOf(svg, { stroke: palette.nonfinite })).toHaveLength(2);
    expect(pathsOf(svg, { stroke: palette.hatch })).toHaveLength(2);
  });

  it('has what a canvas shows, in its place and no larger', () => {
    const clip = { x: 0, y: 0, width: 50, height: 20 };
    const svg = toSvg(
      {
        width: 100,
        height: 50,
        shapes: [
          {
            kind: 'drawing',
            box: { x: 7, y: 3, width: 40, height: 10 },
            draw: (pen) => {
              pen.fillText(NAMED, 1, 2);
            },
            clip,
          },
        ],
      },
      means,
    );
    expect(elements(svg, 'svg').at(-1)).toMatchObject({ x: '7', y: '3', width: '40' });
    expect(svg).toContain('&lt;script&gt;alert(&quot;&amp;&quot;)&lt;/script&gt;</text>');
  });

  it('escapes what XML cannot hold, in attributes too', () => {
    const svg = recorded((pen) => {
      pen.fillStyle = '"><b a="';
      pen.font = '12px "A&B"';
      pen.fillText('a\u0000b\uD800c\nd', 0, 0);
    });
    expect(svg).toContain('fill="&quot;&gt;&lt;b a=&quot;"');
    expect(svg).toContain('font-family="&quot;A&amp;B&quot;"');
    expect(svg).toContain('>a\uFFFDb\uFFFDc d</text>');
  });

  it('has circles, and no path without a point', () => {
    const svg = recorded((pen) => {
      pen.beginPath();
      pen.stroke();
      pen.fillRect(0, 0, 0, 5);
      pen.moveTo(NaN, 1);
      pen.fill();
      pen.arc(10, 10, 5, 0, 2 * Math.PI);
      pen.stroke();
    });
    expect(elements(svg, 'path').map(({ d }) => d)).toEqual([
      'M15 10A5 5 0 0 1 5 10A5 5 0 0 1 15 10',
    ]);
  });

  it('joins what is filled and outlined in turn, and areas of one colour', () => {
    const svg = recorded((pen) => {
      pen.rect(0, 0, 2, 2);
      pen.fill();
      pen.stroke();
      pen.fillRect(1, 1, 1, 1);
      pen.fillRect(3, 1, 1, 1);
      pen.globalAlpha = 0.5;
      pen.fillRect(5, 1, 1, 1);
    });
    expect(elements(svg, 'path')).toMatchObject([
      { d: 'M0 0h2v2h-2z', fill: '#000000', stroke: '#000000' },
      { d: 'M1 1h1v1h-1zM3 1h1v1h-1z' },
      { d: 'M5 1h1v1h-1z', 'fill-opacity': '0.5' },
    ]);
  });

  it('leaves what was drawn before thousands of shapes alone', () => {
    const box = { x: 0, y: 0, width: 9, height: 9 };
    const svg = recorded((pen) => {
      pen.fillRect(0, 0, 1, 1);
      drawMany(pen, box, (many) => {
        for (let i = 0; i < 5000; i++) many.fillRect(i, 0, 1, 1);
      });
      drawMany(pen, box, (many) => {
        for (let i = 0; i < 5000; i++) {
          many.fillStyle = `rgb(${i % 2} 0 0)`;
          many.fillRect(i, 0, 1, 1);
        }
      });
    });
    const [before, alike = ''] = elements(svg, 'path').map(({ d }) => d);
    expect(before).toBe('M0 0h1v1h-1z');
    expect(alike.match(/M/g)).toHaveLength(5000);
    expect(elements(svg, 'image')).toHaveLength(1);
  });
});
