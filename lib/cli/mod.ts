/**
 * The command line: one file a command, which prints and decides nothing. It is the one room that
 * knows all others, because everything is built and owned here.
 *
 * @module
 */
export { runProgram } from "./program.ts";
