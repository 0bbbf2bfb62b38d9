/** uPlot is loaded by a script element of its own, and is global by that. */
declare const uPlot: typeof import("uplot");
