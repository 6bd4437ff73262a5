// What can go wrong between an application and its daemon: one class for each family of the daemon's codes. The types and the
// documentation of each are in index.d.ts.

export class RingfenceError extends Error {
  constructor(message, { code = 'internal', hint, status, correlationId, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = hint ?? undefined;
    this.status = status;
    this.correlationId = correlationId;
    this.idempotencyKey = undefined;
  }
}

export class Usage extends RingfenceError {}
export class NotFound extends RingfenceError {}
export class Refused extends RingfenceError {}
export class Conflict extends RingfenceError {}
export class PluginFailed extends RingfenceError {}
export class LimitBroken extends RingfenceError {}
export class Busy extends RingfenceError {}
export class Cancelled extends RingfenceError {}
export class Unavailable extends RingfenceError {}

/** Which codes each class stands for. */
export const FAMILIES = new Map([
  [Usage, 'usage invalid_permission limit_invalid invalid_config invalid_manifest invalid_package too_large'
    + ' method_not_allowed unsupported_media_type'],
  [NotFound, 'not_found path_not_found not_executable'],
  [Refused, 'permission_denied policy_denied floor consent_required quarantined unauthenticated forbidden not_supported'
    + ' not_enforceable'],
  [Conflict, 'already_installed not_active conflict'],
  [PluginFailed, 'plugin_failed schema_violation quota'],
  [LimitBroken, 'violation timeout'],
  [Busy, 'busy rate_limited'],
  [Cancelled, 'cancelled'],
  [RingfenceError, 'io internal'],
  [Unavailable, 'unavailable'],
]);
const CLASSES = new Map([...FAMILIES].flatMap(([family, codes]) => codes.split(' ').map((code) => [code, family])));

/** The error of a code; one that this version does not know is a plain RingfenceError. */
export function made(code, message, details = {}) {
  return new (CLASSES.get(code) ?? RingfenceError)(message, { ...details, code });
}

/** The error that `{"error": {...}}` tells. */
export function fromDocument(document, status) {
  const detail = document?.error;
  if (typeof detail !== 'object' || detail === null) {
    return made('internal', 'the daemon failed without saying why', { status });
  }
  return made(String(detail.code), String(detail.message), { hint: detail.hint, status, correlationId: detail.correlation_id });
}
