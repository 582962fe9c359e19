/**
 * The one module that touches the page around us.
 *
 * In:  TensorBoard's page, when we are inside of it: theme, address, message port.
 * Out: a `Host` of plain functions. Every access to the parent may fail (another origin,
 *      no TensorBoard at all); then the page stands on its own.
 * Does not know about runs, the store or views.
 *
 * TensorBoard never published its guest library, so its small protocol is spoken here:
 * JSON strings over a MessagePort, every request answered by exactly one reply.
 */

export type Theme = 'light' | 'dark';
export type Link = Readonly<Record<string, string>>;

export interface Host {
  theme(): Theme;
  onTheme(listener: (theme: Theme) => void): void;
  /** TensorBoard was asked to reload its data, by its button or its timer. */
  onReload(listener: () => void): void;
  /** Called with false when our tab, or the browser's, is hidden, with true when it is shown. */
  onVisible(listener: (visible: boolean) => void): void;
  /** Run names in the order in which TensorBoard colours them; empty without TensorBoard. */
  runs(): Promise<readonly string[]>;
  readLink(): Link;
  writeLink(link: Link): void;
  /** The whole address of a view, to give to somebody else. */
  addressOf(link: Link): string;
  onLink(listener: (link: Link) => void): void;
  /** Kept by the browser from one visit to the next; empty where it keeps nothing. */
  readPreferences(): Link;
  writePreferences(preferences: Link): void;
  /** Kept until the window is closed. */
  readSession(): Link;
  writeSession(session: Link): void;
}

const PREFIX = 'p.gradient_health.';
/** Storage is shared with TensorBoard and its other plugins. */
const STORED = 'gradient_health.preferences';

interface Message {
  readonly type: string;
  readonly id: number;
  readonly payload?: unknown;
  readonly error?: string | null;
  readonly isReply: boolean;
}

interface Storage {
  setString(
    key: string,
    value: string,
    options: { useLocationReplace: boolean; defaultValue: string },
  ): void;
}

/** The parent window, if there is one that we may look into. */
function parentWindow(): Window | null {
  try {
    if (window.parent === window) return null;
    return window.parent.document.isConnected ? window.parent : null; // throws if foreign
  } catch {
    return null;
  }
}

/** The keys of ours in TensorBoard's `#name&key=value&...`. */
export function parseLink(hash: string): Link {
  const link: Record<string, string> = {};
  for (const part of hash.replace(/^#/, '').split('&')) {
    const [key, value] = part.split('=', 2).map(decoded);
    if (key?.startsWith(PREFIX) && value !== undefined) link[key.slice(PREFIX.length)] = value;
  }
  return link;
}

/** Texts by name; whatever else somebody may have stored there is left out. */
export function parsePreferences(stored: string | null): Link {
  const parsed: unknown = JSON.parse(stored ?? '{}');
  return Object.fromEntries(
    Object.entries(typeof parsed === 'object' && parsed !== null ? parsed : {}).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    ),
  );
}

function readStorage(storage: 'localStorage' | 'sessionStorage'): Link {
  try {
    return parsePreferences(window[storage].getItem(STORED));
  } catch {
    return {}; // storage is closed to us, in some notebooks for one
  }
}

function writeStorage(storage: 'localStorage' | 'sessionStorage', kept: Link): void {
  try {
    window[storage].setItem(STORED, JSON.stringify(kept));
  } catch {
    // Not kept, then.
  }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // not encoded by TensorBoard; better shown than lost
  }
}

type Request = (type: string) => Promise<unknown>;

/** Shake hands with TensorBoard; requests fail softly when nobody answers. */
function connect(handlers: Readonly<Record<string, () => void>>): Request {
  const { port1: port, port2 } = new MessageChannel();
  const waiting = new Map<number, (message: Message) => void>();
  let nextId = 0;
  const post = (message: Message): void => {
    port.postMessage(JSON.stringify({ payload: null, error: null, ...message }));
  };
  port.onmessage = (event: MessageEvent<string>) => {
    const message = JSON.parse(event.data) as Message;
    if (message.isReply) {
      waiting.get(message.id)?.(message);
      waiting.delete(message.id);
      return;
    }
    handlers[message.type]?.();
    post({ type: message.type, id: message.id, isReply: true });
  };
  window.parent.postMessage('experimental.bootstrap', '*', [port2]);
  return (type) =>
    new Promise((resolve, reject) => {
      const id = nextId++;
      waiting.set(id, ({ error, payload }) => {
        if (error) reject(new Error(error));
        else resolve(payload);
      });
      post({ type, id, isReply: false });
    });
}

export function createHost(): Host {
  const parent = parentWindow();
  const reloadListeners: (() => void)[] = [];
  const request: Request | null =
    parent &&
    connect({
      'experimental.DataReloaded': () => {
        for (const listener of reloadListeners) listener();
      },
    });
  const preference = window.matchMedia('(prefers-color-scheme: dark)');

  const theme = (): Theme => {
    const dark = parent ? parent.document.body.classList.contains('dark-mode') : preference.matches;
    return dark ? 'dark' : 'light';
  };

  return {
    theme,
    onTheme(listener) {
      const notify = (): void => {
        listener(theme());
      };
      if (!parent) {
        preference.addEventListener('change', notify);
        return;
      }
      // TensorBoard says nothing about dark mode to its guests; its body's class does.
      new MutationObserver(notify).observe(parent.document.body, {
        attributes: true,
        attributeFilter: ['class'],
      });
    },
    onReload(listener) {
      reloadListeners.push(listener);
    },
    onVisible(listener) {
      let shown = true;
      const notify = (): void => {
        listener(shown && document.visibilityState === 'visible');
      };
      // A hidden tab is squeezed to height 0: visibilityState and resize events miss that.
      new IntersectionObserver((entries) => {
        shown = entries.at(-1)?.isIntersecting ?? true;
        notify();
      }).observe(document.body);
      document.addEventListener('visibilitychange', notify);
    },
    async runs() {
      if (!request) return [];
      // The port stays silent in a frame that TensorBoard did not make.
      const patience = new Promise<null>((resolve) => setTimeout(resolve, 2000, null));
      const names = await Promise.race([request('experimental.GetRuns'), patience]).catch(
        () => null,
      );
      return Array.isArray(names) ? names.map(String) : [];
    },
    readLink() {
      // GetURLPluginData answers {} on page load, so the address itself is read.
      return parseLink((parent ?? window).location.hash);
    },
    writeLink(link) {
      const storage = (parent as { tensorboard?: { tf_storage?: Storage } } | null)?.tensorboard
        ?.tf_storage;
      const current = parseLink((parent ?? window).location.hash);
      for (const [key, value] of Object.entries(link)) {
        if ((current[key] ?? '') === value) continue;
        try {
          storage?.setString(PREFIX + key, value, { useLocationReplace: true, defaultValue: '' });
        } catch {
          // An unofficial way in; without it the tab works, only the link is poorer.
        }
      }
    },
    addressOf(link) {
      const keys = Object.entries(link)
        .filter(([, value]) => value !== '')
        .map(([key, value]) => `&${PREFIX}${key}=${encodeURIComponent(value)}`);
      const { origin, pathname, search } = (parent ?? window).location;
      return `${origin}${pathname}${search}#gradient_health${keys.join('')}`;
    },
    onLink(listener) {
      (parent ?? window).addEventListener('hashchange', () => {
        listener(parseLink((parent ?? window).location.hash));
      });
    },
    readPreferences: () => readStorage('localStorage'),
    writePreferences(preferences) {
      writeStorage('localStorage', preferences);
    },
    readSession: () => readStorage('sessionStorage'),
    writeSession(session) {
      writeStorage('sessionStorage', session);
    },
  };
}
