// Concurrent identical reads share one query; nothing is kept after it has answered.
// Hides only the bookkeeping: what is read is as fresh as the moment that the first caller asked.

/** `read`, with concurrent calls for one key sharing one execution and its outcome. */
export function createSingleFlight<T>(read: (key: string) => Promise<T>): (key: string) => Promise<T> {
  const flights = new Map<string, Promise<T>>()
  return (key) => {
    const under = flights.get(key)
    if (under !== undefined) return under
    const flight = read(key).finally(() => flights.delete(key))
    flights.set(key, flight)
    return flight
  }
}
