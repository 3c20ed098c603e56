// Examples in openapi.yaml, recorded from a deployment with a clock of its own. test/routes/operations/examples.test.ts compares
// them with current responses.

const STEP_TOKEN =
  'eyJhbGciOiJIUzI1NiIsInR5cCI6InN0ZXArand0Iiwia2lkIjoidGVzdCJ9.eyJpc3MiOiJodHRwczovL2F1dGgudHdvc3RlcC50ZXN0IiwiYXVkIjoidXJuOnR3b3N0ZXA6c3RlcCIsInN1YiI6IjAxYTIyMjBhLWIzNjEtNzc5Ni05ZTFlLTFkM2E2YzAwZGFhOCIsImFjY291bnQiOiIwMWEyMjIwYS1hZjNjLTcxYjktODYzZC01NWI3NWEyMjU4ZmYiLCJwdXJwb3NlIjoidmVyaWZ5IiwiYW1yIjpbInB3ZCJdLCJlcG9jaCI6MSwianRpIjoiMDFhMjIyMGEtYjdiYS03Njg1LTg4ZmItZThlZTQyOWI5MTgxIiwiaWF0IjoxNzY3NjAzNjAwLCJleHAiOjE3Njc2MDM5MDB9.O4nbRUjQvrRYKJDKVQav-bd1oKqtUx_yNen8IS3e7yc'

export const ACCESS_TOKEN =
  'eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6ImNiaFNmc1ppU2lVTnJFZ3NteWNLaWdDSzBxQW5ZWTJTQ1VOR0lIdW5rWVEifQ.eyJpc3MiOiJodHRwczovL2F1dGgudHdvc3RlcC50ZXN0IiwiYXVkIjpbImh0dHBzOi8vYXV0aC50d29zdGVwLnRlc3QiLCJ1cm46dHdvc3RlcDphY2NvdW50OjAxYTIyMjBhLWFmM2MtNzFiOS04NjNkLTU1Yjc1YTIyNThmZiJdLCJjbGllbnRfaWQiOiIwMWEyMjIwYS1hZjNjLTcxYjktODYzZC01NWI3NWEyMjU4ZmYiLCJzdWIiOiIwMWEyMjIwYS1iMzYxLTc3OTYtOWUxZS0xZDNhNmMwMGRhYTgiLCJhY2NvdW50IjoiMDFhMjIyMGEtYWYzYy03MWI5LTg2M2QtNTViNzVhMjI1OGZmIiwicm9sZSI6Im1lbWJlciIsImVtYWlsIjoiYWRhQGV4YW1wbGUuY29tIiwiYW1yIjpbInB3ZCIsIm90cCIsIm1mYSJdLCJhY3IiOiJ1cm46dHdvc3RlcDphY3I6MiIsImF1dGhfdGltZSI6MTc2NzYwMzYwMCwiZXBvY2giOjEsImp0aSI6IjAxYTIyMjBhLWI3YzctNzJjMC04YWI3LWRjMDA3ZWE1MzdiMCIsImlhdCI6MTc2NzYwMzYwMCwiZXhwIjoxNzY3NjA0NTAwfQ.8nyjFD-csPR32z7hvjgPwrcwqCzeErxvvFAh4vzIJ8uj-IVyRSzeqoAZk2gQ77mqYIT6z6b5rirSNNQF7UHdzw'

export const DEVICE_TOKEN =
  'AaIiCq88cbmGPVW3WiJY_wGiIgqzYXeWnh4dOmwA2qgBoiIKt8F2x41EpmMF75YxAAAAAQ.8UZSFBhyZjxHyCq51AyZfx3EUfsA5mFh6x653J4DKkw'

export const VERIFICATION_REQUIRED = {
  status: 'verification_required',
  reason: 'user_enabled',
  stepToken: STEP_TOKEN,
  expiresInSeconds: 300,
  methods: ['totp', 'recovery_code']
}

export const ENROLLMENT_REQUIRED = {
  status: 'enrollment_required',
  reason: 'account_required',
  stepToken: STEP_TOKEN,
  expiresInSeconds: 600
}

export const AUTHENTICATED = {
  status: 'authenticated',
  reason: 'code_verified',
  accessToken: ACCESS_TOKEN,
  tokenType: 'Bearer',
  expiresIn: 900,
  user: {
    id: '01a2220a-b361-7796-9e1e-1d3a6c00daa8',
    accountId: '01a2220a-af3c-71b9-863d-55b75a2258ff',
    email: 'ada@example.com',
    role: 'member'
  },
  deviceToken: DEVICE_TOKEN,
  deviceTokenExpiresAt: '2026-02-04T09:00:00.000Z',
  recoveryCodesRemaining: 10
}

export const USER = {
  id: '01a2220a-b361-7796-9e1e-1d3a6c00daa8',
  email: 'ada@example.com',
  role: 'member',
  disabled: false,
  externalId: null,
  createdAt: '2026-01-05T09:00:00.000Z',
  lastSignInAt: null,
  twoFactor: {
    state: 'disabled',
    since: null,
    lockedUntil: null,
    codesDisabledAt: null,
    authenticators: 0,
    recoveryCodesRemaining: 0,
    required: false,
    requirement: null,
    exempt: false,
    reason: 'not_required'
  }
}
