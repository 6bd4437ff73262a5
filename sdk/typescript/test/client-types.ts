// What an application in TypeScript writes; checked by its compiler, never run.

import { Busy, Conflict, Host, RingfenceError } from 'ringfence/client';
import type { HostEvent, Output, PluginState, RunReport, Versioned } from 'ringfence/client';

export async function main(signal: AbortSignal): Promise<void> {
  const host = await Host.start({ config: { plugin_types: { tool: { base_class: 'a.B', path: '/srv', tools: ['run'] } } } });
  await Host.connect({ url: 'https://localhost:7700', token: 'rf_', tls: { ca: 'PEM' }, signal });
  const installed = await host.install('plugins/greeter', { grant: ['file:read=/srv/**'], idempotencyKey: 'k' });
  const state: PluginState = installed.plugin.state;
  const greeting: string = await host.call<string>('greeter', 'greet', { name: 'Ada' }, { timeoutMs: 5_000, signal });
  const outcome = await host.hook('onRequest', { text: greeting }, { metadata: { state }, trace: true });
  if (outcome.outcome === 'blocked') throw new Error(outcome.reason ?? 'blocked');

  const config: Versioned<Record<string, unknown>> = await host.getConfig('greeter');
  try {
    await host.setConfig('greeter', { ...config.value, language: 'fr' }, { version: config.version });
  } catch (error) {
    if (error instanceof Conflict || error instanceof Busy) console.log(error.hint, error.correlationId);
    else if (error instanceof RingfenceError && error.code === 'schema_violation') console.log(error.message);
    else throw error;
  }

  const run = await host.exec(['ls', '/srv'], { read: ['/srv'], limits: { timeout_ms: 1_000 } });
  for await (const output of run) print(output);
  const report: RunReport = await run.wait();
  console.log(report.exit_code, report.denials.map((denial) => denial.grant));

  const stream = await host.events({ lastEventId: '7', reconnectMs: 0 });
  for await (const event of stream) print(event);
  const token: string = (await host.createToken('viewer', { expiresInS: 60 })).token;
  console.log(token, (await host.list()).map((plugin) => plugin.name));

  // What must not pass:
  // @ts-expect-error a role is one of three words
  await host.createToken('root');
  // @ts-expect-error permissions are a list
  await host.install('x', { grant: 'file:read' });
  // @ts-expect-error a daemon is connected to or started
  new Host();
  // @ts-expect-error no plugin is in such a state
  const wrong: PluginState = 'broken';
  // @ts-expect-error what was answered says nothing like it
  console.log(report.exitCode, wrong);
  await host.close();
}

function print(what: Output | HostEvent): void {
  console.log(what);
}
