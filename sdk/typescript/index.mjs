import sdk from './index.cjs';

export const {
  host, tool, hook, Plugin, HostError, PermissionDenied, NotSupported, Timeout, Cancelled, PluginError,
} = sdk;
export default sdk;
