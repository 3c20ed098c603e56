import type { TestApp, TestUser } from './app.ts'

/** Returns the number of rows in each table of a user's two-factor. */
export async function rowsOf({ database: { prisma } }: TestApp, { id: userId }: TestUser) {
  const where = { userId }
  return {
    authenticators: await prisma.authenticator.count({ where }),
    enrollments: await prisma.enrollment.count({ where }),
    recoveryCodes: await prisma.recoveryCode.count({ where }),
    devices: await prisma.trustedDevice.count({ where })
  }
}

export const NO_ROWS = { authenticators: 0, enrollments: 0, recoveryCodes: 0, devices: 0 }
