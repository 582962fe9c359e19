// The tab on made-up runs, rebuilt at every page load: npm run dev
//
// No TensorBoard and no Python. Light or dark follows the browser, as always outside of
// TensorBoard.

import { build } from 'esbuild';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

const port = Number(process.env.PORT ?? 8137);
const BASE = '/data/plugin/gradient_health/';
const PAGE = `<!doctype html><html lang="en"><meta charset="utf-8"><base href="${BASE}"><link rel="icon" href="data:,">
<script type="module">import {render} from './index.js'; render();</script>`;

async function bundle(entry, platform) {
  const result = await build({
    entryPoints: [fileURLToPath(new URL(entry, import.meta.url))],
    bundle: true,
    format: 'esm',
    platform,
    write: false,
    sourcemap: 'inline',
    loader: { '.css': 'text' },
  });
  return Buffer.from(result.outputFiles[0].contents);
}

async function respond(address) {
  if (address === '/' || address.startsWith('/?')) return { type: 'text/html', body: PAGE };
  if (address === `${BASE}index.js`) {
    return { type: 'text/javascript', body: await bundle('../src/main.ts', 'browser') };
  }
  if (!address.startsWith(BASE)) return { status: 404, type: 'text/plain', body: 'not here' };
  const code = (await bundle('fixtures.ts', 'node')).toString('base64');
  const { answer } = await import(`data:text/javascript;base64,${code}`);
  return answer(address);
}

createServer((request, response) => {
  respond(request.url ?? '/').then(
    ({ status = 200, type, body }) => {
      response.writeHead(status, { 'content-type': type }).end(body);
    },
    (error) => {
      response.writeHead(500, { 'content-type': 'text/plain' }).end(String(error));
    },
  );
}).listen(port, '127.0.0.1', () => {
  console.log(`Gradient Health on made-up runs: http://127.0.0.1:${port}/`);
});
