// The form of the ids that crypto/ids generates: UUIDs (RFC 9562 §4) in lower case.

/** Without anchors, so that longer forms can contain it. */
export const UUID_PATTERN = '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'

export const UUID_FORM = new RegExp(`^${UUID_PATTERN}$`)
