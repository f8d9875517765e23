/**
 * Parses JSON and YAML like Go programs do: the kubelet, docker and Kubernetes define their file
 * formats by what Go accepts.
 *
 * @module
 */
export { ConfigObject, ConfigReport } from "./config_object.ts";
export {
  type Fields,
  firstJsonValue,
  goField,
  isFields,
  parseFields,
  unknownFields,
} from "./go_json.ts";
export { goString, readGoYaml } from "./go_yaml.ts";
