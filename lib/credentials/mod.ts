/**
 * The credentials of the images on this node, and when each is renewed. The renewal policy is a
 * pure function of state and time; the store knows no provider and has no timer.
 *
 * @module
 */
export {
  CredentialStore,
  type Renewal,
  type RenewalFailure,
  type StoreEntry,
} from "./credential_store.ts";
