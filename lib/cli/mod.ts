/**
 * Command line: one file per command, which parses its flags, calls other packages and prints the
 * result.
 *
 * @module
 */
export { runProgram } from "./program.ts";
