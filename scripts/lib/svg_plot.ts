/** A line of a plot: points, and what it is called. */
export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** A plot with its words. */
export interface Plot {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
  /** Horizontal lines that figures are held against. */
  readonly levels?: readonly { readonly y: number; readonly name: string }[];
  /** Logarithmic axes, base 10. */
  readonly logarithmic?: boolean;
}

const WIDTH = 760;
const HEIGHT = 340;
const MARGIN = { left: 64, right: 16, top: 36, bottom: 48 };
/** Told apart in print, and by those who see no difference between red and green. */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"];
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "", "4 2"];

/** The plot as an SVG text; equal for equal plots. */
export function svgOf(plot: Plot): string {
  const scale = scaleOf(plot);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" ` +
    `font-family="sans-serif" font-size="12" role="img">`,
    `<title>${escape(plot.title)}</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    text(MARGIN.left, 20, plot.title, 'font-size="14" font-weight="bold"'),
    ...axes(plot, scale),
    ...(plot.levels ?? []).flatMap(({ y, name }) => level(y, name, scale)),
    ...plot.series.flatMap((series, i) => line(series, i, scale)),
    ...plot.series.map((series, i) => legend(series.name, i)),
    "</svg>",
    "",
  ];
  return parts.join("\n");
}

interface Scale {
  readonly x: (value: number) => number;
  readonly y: (value: number) => number;
  readonly xTicks: readonly number[];
  readonly yTicks: readonly number[];
}

function scaleOf({ series, levels = [], logarithmic = false }: Plot): Scale {
  const xs = series.flatMap(({ points }) => points.map(([x]) => x));
  const ys = [
    ...series.flatMap(({ points }) => points.map(([, y]) => y)),
    ...levels.map((l) => l.y),
  ];
  const xTicks = logarithmic ? decades(min(xs), max(xs)) : steps(min(xs), max(xs));
  const yTicks = logarithmic ? decades(min(ys), max(ys)) : steps(0, max(ys));
  const plane = (v: number) => logarithmic ? Math.log10(v) : v;
  const map = (ticks: readonly number[], low: number, high: number) => (value: number) => {
    const first = plane(ticks[0] ?? 0);
    const last = plane(ticks.at(-1) ?? 1);
    const share = last === first ? 0 : (plane(value) - first) / (last - first);
    return Math.round((low + share * (high - low)) * 10) / 10;
  };
  return {
    x: map(xTicks, MARGIN.left, WIDTH - MARGIN.right),
    y: map(yTicks, HEIGHT - MARGIN.bottom, MARGIN.top),
    xTicks,
    yTicks,
  };
}

/** Round numbers that reach from one value to the other. */
function steps(low: number, high: number): readonly number[] {
  const raw = Math.max(high - low, 1e-9) / 6;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw) ?? 10);
  const ticks: number[] = [];
  for (let i = Math.floor(low / step); (i - 1) * step < high; i++) ticks.push(round(i * step));
  return ticks;
}

function decades(low: number, high: number): readonly number[] {
  const ticks: number[] = [];
  const last = Math.ceil(Math.log10(high));
  for (let power = Math.floor(Math.log10(low)); power <= last; power++) ticks.push(10 ** power);
  return ticks.map(round);
}

function axes({ xLabel, yLabel }: Plot, { x, y, xTicks, yTicks }: Scale): readonly string[] {
  const bottom = HEIGHT - MARGIN.bottom;
  const right = WIDTH - MARGIN.right;
  const middle = (MARGIN.top + bottom) / 2;
  return [
    ...yTicks.flatMap((tick) => [
      `<path d="M${MARGIN.left} ${y(tick)}H${right}" stroke="#ddd"/>`,
      text(MARGIN.left - 6, y(tick) + 4, String(tick), 'text-anchor="end"'),
    ]),
    ...xTicks.map((tick) => text(x(tick), bottom + 18, String(tick), 'text-anchor="middle"')),
    `<path d="M${MARGIN.left} ${MARGIN.top}V${bottom}H${right}" fill="none" stroke="#333"/>`,
    text((MARGIN.left + right) / 2, HEIGHT - 10, xLabel, 'text-anchor="middle"'),
    text(16, middle, yLabel, `text-anchor="middle" transform="rotate(-90 16 ${middle})"`),
  ];
}

function line({ points }: Series, i: number, { x, y }: Scale): readonly string[] {
  const d = points.map(([px, py], n) => `${n === 0 ? "M" : "L"}${x(px)} ${y(py)}`).join("");
  return [`<path d="${d}" fill="none" stroke-width="1.6"${look(i)}/>`];
}

function level(value: number, name: string, { y }: Scale): readonly string[] {
  const right = WIDTH - MARGIN.right;
  return [
    `<path d="M${MARGIN.left} ${y(value)}H${right}" stroke="#999" stroke-dasharray="3 3"/>`,
    text(right - 4, y(value) - 4, name, 'text-anchor="end" fill="#666"'),
  ];
}

function legend(name: string, i: number): string {
  const top = MARGIN.top + 14 + i * 16;
  const left = WIDTH - 250;
  return `<path d="M${left} ${top - 4}h24" stroke-width="1.6"${look(i)}/>` +
    text(left + 30, top, name, "");
}

function look(i: number): string {
  const dash = DASHES[i % DASHES.length] ?? "";
  const colour = COLOURS[i % COLOURS.length] ?? "#000";
  return ` stroke="${colour}"${dash === "" ? "" : ` stroke-dasharray="${dash}"`}`;
}

function text(x: number, y: number, words: string, attributes: string): string {
  return `<text x="${x}" y="${y}"${attributes === "" ? "" : ` ${attributes}`}>${
    escape(words)
  }</text>`;
}

function escape(words: string): string {
  return words.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}

function round(value: number): number {
  return Number(value.toPrecision(6));
}

function min(values: readonly number[]): number {
  return values.reduce((least, value) => Math.min(least, value), Infinity);
}

function max(values: readonly number[]): number {
  return values.reduce((most, value) => Math.max(most, value), -Infinity);
}
