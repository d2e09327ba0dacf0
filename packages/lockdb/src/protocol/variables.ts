/** Variables of the client and the command line (I4). They may stand in a server's environment, too. */
export const CLIENT_VARIABLES = [
  { name: "LOCKDB_SERVICE_ID", doc: "service that the locks belong to, such as reports" },
  {
    name: "LOCKDB_API_KEY",
    doc: "API key, as `lockdb serve` prints it at its first start, or `lockdb keys create` makes it",
  },
  { name: "LOCKDB_API_KEY_FILE", doc: "a file with that key instead; the command line alone reads it" },
  { name: "LOCKDB_SERVER_URL", doc: "server, or several with commas (default: http://127.0.0.1:5625)" },
  {
    name: "LOCKDB_CA_FILE",
    doc: "PEM file: who must have signed the certificate of an https:// server, where the system does not know them",
  },
  { name: "LOCKDB_CERT_FILE", doc: "PEM file: certificate to show to a server that wants one" },
  { name: "LOCKDB_KEY_FILE", doc: "PEM file: the private key of that certificate" },
] as const;

/** What `lockdb run` sets for the command that it runs: its fencing token. */
export const TOKEN_VARIABLE = "LOCKDB_TOKEN";
