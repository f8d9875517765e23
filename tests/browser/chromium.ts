/**
 * Controls a headless Chromium with its DevTools protocol over a WebSocket.
 *
 * @module
 */
import { join } from "node:path";

/** The path of the browser, if installed. */
export const CHROMIUM: string | undefined = findChromium();

function findChromium(): string | undefined {
  for (const folder of (Deno.env.get("PATH") ?? "").split(":")) {
    for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
      try {
        if (Deno.statSync(join(folder, name)).isFile) return join(folder, name);
      } catch {
        // Not in this folder.
      }
    }
  }
  return undefined;
}

type Message = { readonly id?: number; readonly method?: string } & Record<string, unknown>;

/** The tab of a browser that is closed with it. */
export class Tab implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #socket: WebSocket;
  readonly #dir: string;
  readonly #pending = new Map<number, (message: Message) => void>();
  /** Messages of the console, the network and the security policy. */
  readonly messages: string[] = [];
  #loaded = () => {};
  #nextId = 1;

  private constructor(child: Deno.ChildProcess, socket: WebSocket, dir: string) {
    this.#child = child;
    this.#socket = socket;
    this.#dir = dir;
    socket.onmessage = ({ data }) => this.#received(JSON.parse(data));
  }

  static async open(): Promise<Tab> {
    const dir = await Deno.makeTempDir({ prefix: "nydus-chromium-" });
    const child = new Deno.Command(CHROMIUM ?? "", {
      args: [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-background-networking",
        "--remote-debugging-port=0",
        `--user-data-dir=${dir}`,
        "about:blank",
      ],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const port = await portOf(dir);
    const targets = await (await fetch(`http://127.0.0.1:${port}/json/list`)).json();
    const page = targets.find((target: { readonly type: string }) => target.type === "page");
    const socket = new WebSocket(page.webSocketDebuggerUrl);
    await new Promise((open, failed) => {
      socket.onopen = open;
      socket.onerror = failed;
    });
    const tab = new Tab(child, socket, dir);
    for (const domain of ["Page", "Runtime", "Log", "Network", "Audits"]) {
      await tab.send(`${domain}.enable`);
    }
    return tab;
  }

  /** Sends a command of the protocol and returns the response. */
  send(method: string, params: Record<string, unknown> = {}): Promise<Message> {
    const id = this.#nextId++;
    const response = new Promise<Message>((resolve) => this.#pending.set(id, resolve));
    this.#socket.send(JSON.stringify({ id, method, params }));
    return response;
  }

  /** Loads a page. */
  async go(url: string): Promise<void> {
    const loaded = new Promise<void>((resolve) => this.#loaded = resolve);
    await this.send("Page.navigate", { url });
    await loaded;
  }

  /** Evaluates an expression in the page. */
  async eval<T>(expression: string): Promise<T> {
    const options = { expression, returnByValue: true, awaitPromise: true };
    const { result } = await this.send("Runtime.evaluate", options) as unknown as {
      result: { result: { value: T }; exceptionDetails?: unknown };
    };
    if (result.exceptionDetails !== undefined) throw new Error(JSON.stringify(result));
    return result.result.value;
  }

  async size(width: number, height: number): Promise<void> {
    const metrics = { width, height, deviceScaleFactor: 1, mobile: width < 600 };
    await this.send("Emulation.setDeviceMetricsOverride", metrics);
  }

  async scheme(value: "light" | "dark"): Promise<void> {
    const features = [{ name: "prefers-color-scheme", value }];
    await this.send("Emulation.setEmulatedMedia", { features });
  }

  async scripts(on: boolean): Promise<void> {
    await this.send("Emulation.setScriptExecutionDisabled", { value: !on });
  }

  /** Writes a screenshot as PNG. */
  async screenshot(path: string): Promise<void> {
    const { result } = await this.send("Page.captureScreenshot") as unknown as {
      result: { data: string };
    };
    await Deno.writeFile(path, Uint8Array.fromBase64(result.data));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#socket.onclose = resolve);
    await this.send("Browser.close");
    await closed;
    await this.#child.status;
    await Deno.remove(this.#dir, { recursive: true }).catch(() => {});
  }

  #received(message: Message): void {
    if (message.id !== undefined) {
      this.#pending.get(message.id)?.(message);
      this.#pending.delete(message.id);
    }
    if (message.method === "Page.loadEventFired") this.#loaded();
    if (
      message.method === "Log.entryAdded" || message.method === "Runtime.exceptionThrown" ||
      message.method === "Runtime.consoleAPICalled" || message.method === "Audits.issueAdded" ||
      message.method === "Page.javascriptDialogOpening" ||
      message.method === "Network.loadingFailed"
    ) this.messages.push(JSON.stringify(message));
  }
}

async function portOf(dir: string): Promise<number> {
  const deadlineMs = Date.now() + 30_000;
  while (Date.now() < deadlineMs) {
    const text = await Deno.readTextFile(join(dir, "DevToolsActivePort")).catch(() => "");
    const port = Number(text.split("\n")[0]);
    if (port > 0) return port;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("failed to start the browser: no DevTools port");
}
