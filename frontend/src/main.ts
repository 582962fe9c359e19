/** The entry that TensorBoard calls. */

import { createClient } from './api/client';
import { startApp } from './app';
import { createHost } from './host';

export function render(): void {
  startApp(document.body, createHost(), createClient());
}
