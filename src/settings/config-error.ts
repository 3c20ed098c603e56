/** The environment is not usable. The message names the key and never shows its value. */
export class ConfigError extends Error {
  override name = 'ConfigError'
}
