/**
 * JSON and YAML as Go programs read them: the kubelet, docker and Kubernetes define their files by what
 * Go accepts.
 *
 * @module
 */
export { type Fields, firstJsonValue, goField, isFields, unknownFields } from "./go_json.ts";
export { goString, readGoYaml } from "./go_yaml.ts";
