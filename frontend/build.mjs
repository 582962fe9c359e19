// Bundle the tab to the one file that TensorBoard loads: an ES module that exports render().

import { build } from 'esbuild';
import { gzipSync } from 'node:zlib';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const outfile = path('../tb_gradients/plugin/static/index.js');

await build({
  entryPoints: [path('src/main.ts')],
  outfile,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  charset: 'utf8',
  legalComments: 'none',
  loader: { '.css': 'text' },
});

const bundle = readFileSync(outfile);
const kilobytes = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;
console.log(
  `${outfile}: ${kilobytes(bundle.length)}, ${kilobytes(gzipSync(bundle).length)} gzipped`,
);
