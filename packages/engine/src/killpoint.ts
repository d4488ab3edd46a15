// Places where a test environment may kill the process, to prove what survives it.

/** Kills this process with SIGKILL at the point named by `armed`; without one, does nothing. */
export function createKillpoint(armed: string | undefined, kill: (point: string) => void): (name: string) => void {
  if (armed === undefined) return () => {}
  return (name) => {
    if (name === armed) kill(name)
  }
}
