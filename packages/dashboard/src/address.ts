/** Where this server is, as it may stand in a command for a shell. Pure. */

/** A name could be more than a name to a shell: what is not plain is not shown. */
export function shellAddress(base: string): string {
  const isPlain = /^https?:\/\/([0-9a-z.-]{1,253}|\[[0-9a-f:.]{2,45}\])(:\d{1,5})?(\/[\w./-]*)?$/i.test(base);
  return isPlain ? base.replace(/\/$/, "") : "https://address-of-this-server";
}
