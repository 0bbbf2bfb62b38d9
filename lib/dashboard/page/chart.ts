import type Plot from "uplot";

export interface ChartOptions {
  /** What it is a chart of, for who does not see it. */
  readonly label: string;
  readonly format: (value: number | null) => string;
  /** How far apart the lines of the value axis may be. */
  readonly steps?: number[];
  /** What the value axis reaches at least. */
  readonly least: number;
  /** Told what is under the pointer, or what it is now. */
  readonly read: (text: string) => void;
  /** Charts with the same key show their pointer at the same time. */
  readonly group: string;
}

const HEIGHT = 150;
const SHORTEST_MS = 60_000;
const TIME_STEPS = [10, 15, 30, 60, 120, 300].map((seconds) => seconds * 1000);
const FONT = "11px system-ui, sans-serif";
const dark = matchMedia("(prefers-color-scheme: dark)");

const clock = (options: Intl.DateTimeFormatOptions) => {
  const format = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", ...options });
  return (time: number) => format.format(time);
};
const toTheMinute = clock({});
const toTheSecond = clock({ second: "2-digit" });

/** A line over time, as large as its element is wide. Its colours are those of the style sheet. */
export class Chart {
  readonly #host: HTMLElement;
  readonly #options: ChartOptions;
  readonly #resizing = new ResizeObserver(() => this.#fit());
  #now = "";
  #isPointedAt = false;
  #plot: Plot | undefined;
  #data: Plot.AlignedData = [[], []];

  constructor(host: HTMLElement, options: ChartOptions) {
    this.#host = host;
    this.#options = options;
    host.setAttribute("role", "img");
    host.setAttribute("aria-label", options.label);
    this.#resizing.observe(host);
    dark.addEventListener("change", this.#build);
  }

  draw(at: readonly number[], values: readonly (number | null)[]): void {
    this.#data = [[...at], [...values]];
    this.#now = at.length > 0 ? this.#options.format(values.at(-1) ?? null) : "";
    if (!this.#isPointedAt) this.#options.read(this.#now);
    if (this.#plot) this.#plot.setData(this.#data);
    else this.#build();
  }

  destroy(): void {
    dark.removeEventListener("change", this.#build);
    this.#resizing.disconnect();
    this.#plot?.destroy();
  }

  #fit(): void {
    const width = this.#host.clientWidth;
    if (this.#plot && width > 0 && width !== this.#plot.width) this.#plot.setSize({ width, height: HEIGHT });
  }

  /** Colours can't be changed afterwards. */
  readonly #build = () => {
    this.#plot?.destroy();
    this.#plot = new uPlot(this.#plotOptions(), this.#data, this.#host);
  };

  #plotOptions(): Plot.Options {
    const { format, steps, least, read, group } = this.#options;
    const style = getComputedStyle(this.#host);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--muted"), font: FONT, ticks: { show: false } };
    const grid = { stroke: colour("--line"), width: 1 };
    return {
      width: this.#host.clientWidth,
      height: HEIGHT,
      padding: [8, 24, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: group }, points: { size: 7 } },
      scales: {
        x: { time: false, range: (_plot, first, last) => [Math.min(first, last - SHORTEST_MS), last] },
        y: { range: (_plot, _least, most) => [0, Math.max(least, 1.15 * (most ?? 0))] },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 24,
          incrs: TIME_STEPS,
          values: (_plot, times) => times.map((time) => (time % 60_000 ? toTheSecond : toTheMinute)(time)),
        },
        {
          ...axis,
          grid,
          size: 62,
          space: 28,
          values: (_plot, values) => values.map((value) => format(value).replace(/\.0+ /, " ")),
          ...(steps && { incrs: steps }),
        },
      ],
      series: [
        {},
        {
          stroke: colour("--chart"),
          fill: colour("--chart-fill"),
          width: 1.5,
          points: { show: false },
        },
      ],
      hooks: {
        setCursor: [
          ({ cursor: { idx }, data }) => {
            const time = idx == null ? undefined : data[0][idx];
            this.#isPointedAt = time !== undefined;
            const value = idx == null ? undefined : data[1]?.[idx];
            read(time === undefined ? this.#now : `${toTheSecond(time)}: ${format(value ?? null)}`);
          },
        ],
      },
    };
  }
}
