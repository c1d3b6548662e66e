/** iSCSI names (RFC 7143 4.2.7, RFC 3722, RFC 3980): of initiators and targets, of the whole world. */

/** Bytes. */
const nameBytesMax = 223;

const forms = [
  // A naming authority's domain since a month; what follows the colon is its own, stringprep leaves letters, digits and - . :
  /^iqn\.\d{4}-(0[1-9]|1[0-2])\.[\p{L}\p{N}\p{M}.-]+(:[\p{L}\p{N}\p{M}.:-]*)?$/u,
  /^eui\.[0-9a-f]{16}$/,
  /^naa\.([0-9a-f]{16}|[0-9a-f]{32})$/,
];

/** The name as it is compared (RFC 7143 4.2.7.1: without regard to case); null: not one. */
export function normalizedName(name: string): string | null {
  const normalized = name.normalize('NFKC').toLowerCase();
  if (Buffer.byteLength(normalized) > nameBytesMax) return null;
  return forms.some((form) => form.test(normalized)) ? normalized : null;
}
