'use strict';
// Values of SQL as they travel: what JSON has no exact form for is an object with one member.

exports.toSql = (value) => {
  if (typeof value === 'bigint') return { integer: String(value) };
  if (typeof value === 'number' && !Number.isFinite(value)) {
    return Number.isNaN(value) ? null : { real: value > 0 ? 'inf' : '-inf' };
  }
  if (value instanceof Uint8Array) return { base64: Buffer.from(value).toString('base64') };
  return value === undefined ? null : value;
};

exports.fromSql = (value) => {
  if (typeof value !== 'object' || value === null) return value;
  if (value.integer !== undefined) return BigInt(value.integer);
  if (value.real !== undefined) return value.real === 'inf' ? Infinity : -Infinity;
  return Buffer.from(value.base64 ?? '', 'base64');
};
