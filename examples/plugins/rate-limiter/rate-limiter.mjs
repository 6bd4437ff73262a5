// Blocks users who send more requests than they may: a token bucket for each user, in memory.

import { host, NotSupported, PermissionDenied } from 'ringfence';

/** Users that are remembered; the one that was idle longest is forgotten first. */
const USERS_MAX = 10_000;

const buckets = new Map();
let settings = { requests: 60, window_s: 60 };

export function initialize(config) {
  settings = { ...settings, ...config };
}

export const configChanged = initialize;

export async function onRequest({ metadata }) {
  const user = String(metadata?.user ?? 'anonymous');
  const bucket = refill(user, performance.now());
  if (bucket.tokens >= 1) {
    bucket.tokens -= 1;
    return undefined;
  }
  const waitS = ((1 - bucket.tokens) * settings.window_s) / settings.requests;
  await tell(user);
  return {
    blocked: true,
    reason: `${user} may send ${settings.requests} requests in ${settings.window_s} s`,
    response: { status: 429, retry_after_s: Math.ceil(waitS) },
  };
}

export function usage({ user } = {}) {
  const now = performance.now();
  const users = user === undefined ? [...buckets.keys()] : [user];
  return Object.fromEntries(users.map((one) => [one, Math.ceil(settings.requests - refill(one, now).tokens)]));
}

function refill(user, now) {
  const bucket = buckets.get(user) ?? { tokens: settings.requests, at: now };
  const gained = ((now - bucket.at) / 1000) * (settings.requests / settings.window_s);
  bucket.tokens = Math.min(settings.requests, bucket.tokens + gained);
  bucket.at = now;
  buckets.delete(user); // A Map keeps the order of insertion, so the first key is the one that was idle longest.
  buckets.set(user, bucket);
  if (buckets.size > USERS_MAX) buckets.delete(buckets.keys().next().value);
  return bucket;
}

async function tell(user) {
  try {
    await host.postEvent('rate-limiter.blocked', { user });
  } catch (error) {
    // The permission is optional: without it, or on a host without events, blocking works all the same.
    if (!(error instanceof PermissionDenied) && !(error instanceof NotSupported)) throw error;
  }
}
