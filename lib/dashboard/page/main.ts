import { Banner } from "./banner.js";
import { Connection } from "./connection.js";
import { LogDialog } from "./log-dialog.js";
import { Models } from "./models.js";
import { reasonOf, requestStop, type StopOrder } from "./requests.js";
import { StopDialog } from "./stop-dialog.js";
import { Stops } from "./stops.js";
import { Summary } from "./summary.js";
import { Table } from "./table.js";

const models = new Models();
const banner = new Banner();
const summary = new Summary();
const logDialog = new LogDialog(keepFocus);
const stopDialog = new StopDialog(keepFocus);
const stops = new Stops(models, { retry: (name) => askToStop([name]), focusLost: () => table.focus() });
const table = new Table(models, {
  stop: (name) => askToStop([name]),
  stopSelected: (names) => askToStop(names),
  stopAll: () => askToStop(models.names),
  showLog: (name) => logDialog.show(name),
});

new Connection({
  snapshot(snapshot) {
    models.takeAll(snapshot);
    stops.catchUp();
    table.loadAgain();
    show();
  },
  change(change) {
    models.take(change);
    show();
  },
  shutdown(news) {
    stops.news(news);
    models.takeNews(news);
    show();
  },
  connected: () => logDialog.followAgain(),
  trouble: ({ error }) => banner.trouble(error.message),
  lost: (reason) => banner.lost(reason),
}).start();

function show(): void {
  banner.seen();
  table.show();
  summary.show(models);
}

/** None is stopped that was not named: one may be loaded while the reader thinks. */
function askToStop(names: readonly string[]): void {
  const wanted = names.flatMap((name) => models.get(name) ?? []);
  stopDialog.ask(wanted, (force) => {
    const asked = wanted.map(({ name }) => name);
    void stop({ models: asked, force });
  });
}

async function stop(order: StopOrder): Promise<void> {
  const begun = stops.begin(order.models);
  try {
    stops.settle(begun, await requestStop(order));
  } catch (error) {
    stops.fail(begun, reasonOf(error));
  }
}

/** What had the focus may have gone while it was elsewhere. */
function keepFocus(): void {
  if (document.activeElement === null || document.activeElement === document.body) table.focus();
}
