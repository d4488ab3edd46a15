// For tests only: how much work something is, whatever else the machine does meanwhile.

/** The milliseconds of CPU that this thread has used. */
export function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1_000
}
