// The exit codes that scripts rely on (contract, section 8).

export const EXIT = {
  done: 0,
  runFailed: 1,
  invalid: 2,
  partial: 3,
  notAllowed: 4,
  cancelled: 5,
  review: 6,
  timeout: 7,
  unreachable: 8,
  interrupted: 130,
} as const
