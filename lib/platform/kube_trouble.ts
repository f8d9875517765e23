/** What a person can use of the runtime's words, which quote the request; most telling first. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/UnknownIssuer/, "the server's certificate is signed by an authority that is not trusted"],
  [/NotValidForName|altnames/, "the server's certificate is not for this name"],
  [/certificate expired|: Expired|CERT_HAS_EXPIRED/, "the server's certificate has expired"],
  [/CertificateExpired/, "the server says that our client certificate has expired"],
  [/CertificateRequired|BadCertificate|UnknownCA/, "the server refuses our client certificate"],
  [/invalid peer certificate|self-signed/, "the server's certificate cannot be verified"],
  [/no pem|PEM|private key|InvalidCertificate/i, "a certificate or key cannot be used"],
  [/InvalidContentType|corrupt message/, "the server does not speak TLS there"],
  [/Connection refused|ECONNREFUSED/, "the connection was refused"],
  [/dns error|failed to lookup|ENOTFOUND|EAI_AGAIN/i, "the host name cannot be resolved"],
  [/unreachable/i, "the network is unreachable"],
  [/NotCapable|Requires net access|ForbiddenAddress/, "this address is forbidden to the agent"],
  [/proxy|tunnel/i, "the proxy does not let us through"],
];

/** Why a request came to nothing, in words that quote neither it nor its answer. */
export function connectionProblem(error: unknown): string {
  const text = error instanceof Error
    ? `${error.name} ${error.message} ${error.cause instanceof Error ? error.cause.message : ""}`
    : "";
  const bare = text.replaceAll(/https?:\/\/\S*/g, "");
  return REASONS.find(([pattern]) => pattern.test(bare))?.[1] ?? "the connection was cut";
}
