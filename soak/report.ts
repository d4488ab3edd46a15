// The report of a soak: what was asked for, what broke, how soon it worked again, and which promises held.
// Hides the layout of the text; the same facts are in the JSON.
import type { Findings } from './audit.ts'

export interface Recovery {
  fault: string
  /** Since the start, in seconds. */
  atS: number
  /** How long it was broken, in milliseconds. */
  brokenMs: number
  /** From then until a run submitted at once had ended, in milliseconds; null where none did within the limit. */
  recoveryMs: number | null
}

export interface Report {
  seed: number
  startedAt: string
  minutes: number
  commit: string
  machine: string
  runs: { accepted: number; onRecord: number; byForm: Record<string, number>; byStatus: Record<string, number> }
  failures: Record<string, number>
  calls: { made: number; onLedger: number; unknown: number }
  refused: { form: string; status: number }[]
  recoveries: Recovery[]
  /** From the last fault until every run had ended, in milliseconds; null where some never did. */
  settledMs: number | null
  findings: Findings
  passed: boolean
}

/** In the words of the promises. */
const PROMISES: Record<keyof Findings, string> = {
  lost: 'runs lost',
  duplicateTerminal: 'runs that ended twice, or went on after their end',
  gapsInEvents: 'event logs with a gap',
  paidAgain: 'completed steps paid again',
  unbooked: 'calls made and on no ledger',
  misbooked: 'ledger rows that differ from the bill',
  pendingCalls: 'calls left pending on ended runs',
  openGates: 'gates left open on ended runs',
  wrongCost: 'terminal events whose cost is not the ledger',
  repeatedRequests: 'paid requests sent twice as they were',
  orphans: 'files without a row, or rows without a file',
  damagedServed: 'damaged files served',
  foreignBytes: 'answers about another organization',
}

function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN
}

export function reportText(report: Report): string {
  const { runs, calls, findings, recoveries } = report
  const counts = (of: Record<string, number>) =>
    Object.entries(of)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ') || 'none'
  const byFault = Map.groupBy(recoveries, ({ fault }) => fault)
  const rows = [...byFault].map(([fault, times]) => {
    const known = times.flatMap(({ recoveryMs }) => (recoveryMs === null ? [] : [recoveryMs]))
    const never = times.length - known.length
    const cell = (q: number) => (known.length === 0 ? '-' : seconds(quantile(known, q))).padStart(8)
    return `  ${fault.padEnd(40)}${String(times.length).padStart(3)}${cell(0.5)}${cell(0.95)}${never > 0 ? `   ${never} not within the limit` : ''}`
  })
  return `Soak of ${report.minutes} minutes, seed ${report.seed}, ${report.startedAt}
commit ${report.commit}, ${report.machine}
${report.passed ? 'PASSED' : 'FAILED'}

${runs.accepted} runs accepted (${runs.onRecord} with slots and called runs): ${counts(runs.byForm)}
ended: ${counts(runs.byStatus)}
failed for: ${counts(report.failures)}
${calls.made} calls made by the providers, ${calls.onLedger} on the ledger, ${calls.unknown} of them of unknown outcome
all runs had ended ${report.settledMs === null ? 'NEVER' : `${seconds(report.settledMs)} after the last fault`}

promises broken:
${Object.entries(PROMISES)
  .map(([key, words]) => `  ${String(findings[key as keyof Findings].length).padStart(3)}  ${words}`)
  .join('\n')}
${Object.entries(findings)
  .flatMap(([key, found]) => (found as string[]).slice(0, 5).map((one) => `       ${key}: ${one}`))
  .join('\n')}
from the end of a fault until a run submitted then had ended:
  ${'fault'.padEnd(40)}  n     p50     p95
${rows.join('\n')}
`
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
