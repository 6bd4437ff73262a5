let prefix = 'req';
let count = 0;

module.exports = {
  initialize(config) {
    prefix = config.prefix || prefix;
  },
  onRequest(ctx) {
    count += 1;
    return { body: ctx.body, metadata: { ...ctx.metadata, requestId: `${prefix}-${count}` } };
  },
};
