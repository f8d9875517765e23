import { join } from "@std/path";

/** PEM texts of a test CA and the certificates that it has signed. */
export interface Certificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly clientCert: string;
  readonly clientKey: string;
}

let cached: Promise<Certificates> | undefined;

/** Whether openssl is installed; tests that need certificates are ignored without it. */
export const HAS_OPENSSL: boolean = await new Deno.Command("openssl", {
  args: ["version"],
  stdout: "null",
  stderr: "null",
}).output().then(({ success }) => success, () => false);

/** Creates certificates for 127.0.0.1, localhost and `kubernetes.default.svc`, once per process. */
export function certificates(): Promise<Certificates> {
  return cached ??= inFolder(async (folder) => {
    await authority(folder, "ca");
    await signed(folder, "ca", "server", "/CN=kube-apiserver", SERVER);
    await signed(folder, "ca", "client", "/O=system:nodes/CN=system:node:one", CLIENT);
    const read = (name: string) => Deno.readTextFile(join(folder, name));
    return {
      ca: await read("ca.crt"),
      cert: await read("server.crt"),
      key: await read("server.key"),
      clientCert: await read("client.crt"),
      clientKey: await read("client.key"),
    };
  });
}

/** Creates a server certificate that expired yesterday. */
export function expiredCertificates(): Promise<Pick<Certificates, "ca" | "cert" | "key">> {
  return inFolder(async (folder) => {
    await authority(folder, "ca");
    await signed(folder, "ca", "server", "/CN=kube-apiserver", SERVER, "-1");
    const read = (name: string) => Deno.readTextFile(join(folder, name));
    return {
      ca: await read("ca.crt"),
      cert: await read("server.crt"),
      key: await read("server.key"),
    };
  });
}

/** Creates a client certificate of a new CA. */
export function renewedClient(): Promise<Pick<Certificates, "ca" | "clientCert" | "clientKey">> {
  return inFolder(async (folder) => {
    await authority(folder, "ca");
    await signed(folder, "ca", "client", "/O=system:nodes/CN=system:node:one", CLIENT);
    const read = (name: string) => Deno.readTextFile(join(folder, name));
    return {
      ca: await read("ca.crt"),
      clientCert: await read("client.crt"),
      clientKey: await read("client.key"),
    };
  });
}

const SERVER = "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc\n" +
  "extendedKeyUsage=serverAuth\n";
const CLIENT = "extendedKeyUsage=clientAuth\n";
const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

async function authority(folder: string, name: string): Promise<void> {
  const out = ["-keyout", `${name}.key`, "-out", `${name}.crt`];
  await openssl(folder, ["req", "-x509", ...NEW_KEY, ...out, "-subj", `/CN=${name}`, "-days", "2"]);
}

async function signed(
  folder: string,
  authority: string,
  name: string,
  subject: string,
  extensions: string,
  days = "2",
): Promise<void> {
  await Deno.writeTextFile(join(folder, `${name}.ext`), extensions);
  const out = ["-keyout", `${name}.key`, "-out", `${name}.csr`];
  await openssl(folder, ["req", ...NEW_KEY, ...out, "-subj", subject]);
  const by = ["-CA", `${authority}.crt`, "-CAkey", `${authority}.key`, "-CAcreateserial"];
  const into = ["-out", `${name}.crt`, "-extfile", `${name}.ext`];
  await openssl(folder, ["x509", "-req", "-in", `${name}.csr`, ...by, ...into, "-days", days]);
}

async function openssl(cwd: string, args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("openssl", { args, cwd, stdout: "null" })
    .output();
  if (!success) throw new Error(`openssl ${args[0]}: ${new TextDecoder().decode(stderr)}`);
}

async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    return await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
