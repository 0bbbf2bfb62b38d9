import { BackendState } from "../backend/status.js";
import type { ModelOverview } from "../overview.js";
import { componentBytes } from "./labels.js";

/** A figure of a model, and the labels that it has beside the model's. */
type Figure = readonly [value: bigint | number | null | undefined, labels?: Readonly<Record<string, string>>];

/** A metric that is sampled when it is scraped. */
export interface SampledMetric {
  readonly name: string;
  readonly help: string;
  /** It never goes down while the model's processes are the same. */
  readonly isCounter?: true;
  /** Beside the model's. */
  readonly labelNames: readonly string[];
  /** Of one model. What is unknown has no sample. */
  readonly figures: (model: ModelOverview) => readonly Figure[];
}

const STATES = new Map<number, string>(
  Object.entries(BackendState).map(([name, state]) => [state, name.toLowerCase()]),
);

/** A state that the protocol adds later. */
const OTHER_STATE = "other";

export const sampledMetrics: readonly SampledMetric[] = [
  {
    name: "backend_up",
    help: "Whether the model's backend itself answers, to Status or to Health: 1 or 0.",
    labelNames: [],
    figures: (model) => [[answers(model) ? 1 : 0]],
  },
  {
    name: "backend_state",
    help: "What the model is doing: 1 for its state, 0 for each other one. Where nobody tells, that is error.",
    labelNames: ["state"],
    figures: ({ status }) => {
      const current = STATES.get(status?.state ?? BackendState.ERROR) ?? OTHER_STATE;
      return [...STATES.values(), OTHER_STATE].map((state) => [state === current ? 1 : 0, { state }]);
    },
  },
  {
    name: "backend_memory_bytes",
    help: "Memory that the model holds, by its backend's word, or by the operating system's where the backend reports none.",
    labelNames: [],
    figures: ({ status }) => [[status?.memory.total]],
  },
  {
    name: "backend_memory_component_bytes",
    help: "The parts of backend_memory_bytes; those that are not among the largest are summed as other.",
    labelNames: ["component"],
    figures: ({ status }) =>
      Array.from(componentBytes(status?.memory.breakdown), ([component, bytes]) => [bytes, { component }]),
  },
  {
    name: "backend_resident_memory_bytes",
    help: "Resident memory of the model's processes, by the operating system.",
    labelNames: [],
    figures: ({ process }) => [[process?.rss]],
  },
  {
    name: "backend_virtual_memory_bytes",
    help: "Address space of the model's processes, by the operating system.",
    labelNames: [],
    figures: ({ process }) => [[process?.vms]],
  },
  {
    name: "backend_cpu_seconds_total",
    help: "CPU time that the model's processes have used, by the operating system.",
    isCounter: true,
    labelNames: [],
    figures: ({ process }) => [[process?.cpu_seconds]],
  },
];

function answers({ status }: ModelOverview): boolean {
  // Without Status it is ready only where Health says so.
  return status !== undefined && (!status.status_error || status.state === BackendState.READY);
}
