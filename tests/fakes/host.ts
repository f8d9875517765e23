import type { Host, HostSignal } from "../../lib/platform/mod.ts";

/** A host that records output and delivers signals on request. */
export class FakeHost implements Host {
  readonly args: readonly string[] = [];
  readonly env: Record<string, string> = {};
  readonly cwd = "/";
  readonly pid = 1;
  user = 0;
  readonly execPath = "/bin/nydus-auth-agent";
  readonly calledAs = "nydus-auth-agent";
  readonly standalone = true;
  readonly denoVersion = "0";
  stdoutIsTerminal = false;
  stderrIsJournal = false;
  size = { columns: 80, rows: 24 };
  written = "";
  complained = "";
  readonly #listeners = new Set<(name: HostSignal) => void>();

  uid(): number {
    return this.user;
  }

  terminalSize(): { readonly columns: number; readonly rows: number } {
    return this.size;
  }

  /** Whether the reader of stdout is still connected. */
  isRead = true;

  out(text: string): boolean {
    if (this.isRead) this.written += text;
    return this.isRead;
  }

  err(text: string): void {
    this.complained += text;
  }

  onSignal(_names: readonly HostSignal[], received: (name: HostSignal) => void): Disposable {
    this.#listeners.add(received);
    return { [Symbol.dispose]: () => void this.#listeners.delete(received) };
  }

  /** Delivers a signal to all listeners, and returns their number. */
  signal(name: HostSignal): number {
    for (const received of this.#listeners) received(name);
    return this.#listeners.size;
  }

  readInput(): Promise<string> {
    return Promise.resolve("");
  }

  residentBytes(): number {
    return 0;
  }

  cpuSeconds(): number {
    return 0;
  }

  openDescriptors(): Promise<number | undefined> {
    return Promise.resolve(undefined);
  }

  descriptorLimit(): Promise<number> {
    return Promise.resolve(1_024);
  }

  onUnhandledError(): Disposable {
    return { [Symbol.dispose]: () => {} };
  }

  selfCommand(): readonly string[] {
    return [this.execPath];
  }
}
