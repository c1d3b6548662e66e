// A pulse that remembers what it is told, and tells what it is asked to; for both kinds of `PulseHost`.
import { HoldfastError } from '../../dist/base/errors.js';

export const maker = {
  pulse: ({ start, events }) => new FakePulse(start, events),
  channel: ({ spec }) => ({ channel: { id: `${spec.kind}:made` }, device: '/dev/made' }),
};

class FakePulse {
  calls = [];

  constructor(start, events) {
    this.node = start.node;
    this.events = events;
  }

  start() {
    this.calls.push('start');
  }

  async stop() {
    this.calls.push('stop');
  }

  say(word) {
    this.calls.push(`say ${word.ownedVersion}`);
    this.events.changed(this.snapshot());
  }

  snapshot() {
    return { node: this.node, monotonicMs: 0, wallMs: 0, peers: [], muted: null, masters: {} };
  }

  status() {
    return { snapshot: this.snapshot(), calls: this.calls };
  }

  mute(reason) {
    this.calls.push(`mute ${reason}`);
  }

  heard(channel, peer, agoMs) {
    this.calls.push(`heard ${channel} ${peer} ${agoMs}`);
  }

  async use(change) {
    if (!change.confirmed) throw new HoldfastError('E_REFUSED', 'no path would be left');
    this.events.tableChanged({ node: this.node, version: 7 });
    return { table: { node: this.node, version: 7 }, passedOn: [] };
  }

  addChannel({ channel, device }) {
    this.calls.push(`add ${channel.id} ${device}`);
  }

  async removeChannel(id) {
    this.calls.push(`remove ${id}`);
  }

  async sendControl(to, message) {
    if (message.kind === 'fail') throw new TypeError('an error of ours');
    if (message.kind === 'later') setImmediate(() => undefined.nothing);
    if (message.kind === 'exit') process.exit(3);
    // As if that node asked the same of us.
    const problem = await this.events.control(to, message);
    if (problem !== null) throw new HoldfastError('E_REFUSED', problem);
  }

  indicate(indication) {
    this.events.indicated(indication, this.node);
  }

  async leave() {
    this.calls.push('leave');
  }
}
