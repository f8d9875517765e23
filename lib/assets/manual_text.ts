const WIDTH = 80;

/**
 * The manual page as plain text, for hosts without `man`. It knows the few requests that our page
 * uses (`.TH .SH .SS .PP .TP .B .I .BI .BR .nf .fi`), and leaves out the fonts.
 *
 * @throws {SyntaxError} at a request that it does not know.
 */
export function manualText(roff: string): string {
  const page = new Page();
  for (const line of roff.trimEnd().split("\n")) {
    if (line.startsWith(".")) page.request(line);
    else page.text(plain(line));
  }
  return page.finish();
}

class Page {
  readonly #lines: string[] = [];
  #words: string[] = [];
  #indent = 7;
  #tag: "none" | "next" | "held" = "none";
  #tagText = "";
  #filling = true;

  request(line: string): void {
    const [name = "", ...rest] = line.split(" ");
    const argument = rest.join(" ");
    switch (name) {
      case ".TH":
        return;
      case ".SH":
        return this.#heading(0, plain(argument));
      case ".SS":
        return this.#heading(3, plain(argument));
      case ".PP":
        return this.#paragraph(7);
      case ".TP":
        this.#paragraph(7);
        this.#tag = "next";
        return;
      case ".B":
      case ".I":
        return this.text(plain(argument));
      case ".BI":
      case ".BR":
        return this.text(plain(argument.replace(/ ?"([^"]*)"/g, "$1")));
      case ".nf":
      case ".fi":
        this.#flush();
        this.#filling = name === ".fi";
        return;
      default:
        throw new SyntaxError(`read the manual page: unknown request "${line}"`);
    }
  }

  text(text: string): void {
    if (!this.#filling) {
      this.#lines.push(" ".repeat(this.#indent) + text);
    } else if (this.#tag === "next") {
      this.#tagText = text;
      this.#tag = "held";
      this.#indent = 14;
    } else {
      this.#words.push(...text.split(" ").filter((word) => word !== ""));
    }
  }

  finish(): string {
    this.#flush();
    return this.#lines.join("\n").replace(/\n{3,}/g, "\n\n").trim() + "\n";
  }

  #heading(indent: number, text: string): void {
    this.#paragraph(7);
    this.#lines.push(" ".repeat(indent) + text);
  }

  #paragraph(indent: number): void {
    this.#flush();
    if (!/^ {0,3}\S/.test(this.#lines.at(-1) ?? "")) this.#lines.push("");
    this.#indent = indent;
  }

  // A tag stands alone, with its text further in below it.
  #flush(): void {
    if (this.#tag === "held") this.#lines.push(" ".repeat(7) + this.#tagText);
    this.#tag = "none";
    let line = "";
    for (const word of this.#words) {
      if (line !== "" && this.#indent + line.length + 1 + word.length > WIDTH) {
        this.#lines.push(" ".repeat(this.#indent) + line);
        line = word;
      } else line = line === "" ? word : `${line} ${word}`;
    }
    if (line !== "") this.#lines.push(" ".repeat(this.#indent) + line);
    this.#words = [];
  }
}

function plain(text: string): string {
  return text.replace(/\\f[BIR]/g, "").replace(/\\-/g, "-").replace(/\\&/g, "");
}
