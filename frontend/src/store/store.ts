/** A value that changes, and those who want to know. */

export interface Store<T> {
  readonly get: () => T;
  /** Replace some fields; listeners hear of it once, after all of them are in. */
  readonly set: (patch: Partial<T>) => void;
  /** The answer ends it. */
  readonly subscribe: (listener: (state: T) => void) => () => void;
}

export function createStore<T extends object>(initial: T): Store<T> {
  let state = initial;
  let announcing = false;
  let again = false;
  let listeners: readonly ((state: T) => void)[] = [];

  function announce(): void {
    // A listener may set() in turn; everybody then sees the newest state, in order.
    again = true;
    if (announcing) return;
    announcing = true;
    try {
      while (again) {
        again = false;
        for (const listener of listeners) listener(state);
      }
    } finally {
      announcing = false;
    }
  }

  return {
    get: () => state,
    set(patch) {
      const keys = Object.keys(patch) as (keyof T)[];
      if (keys.every((key) => Object.is(state[key], patch[key]))) return;
      state = { ...state, ...patch };
      announce();
    },
    subscribe(listener) {
      listeners = [...listeners, listener];
      return () => {
        listeners = listeners.filter((other) => other !== listener);
      };
    },
  };
}
