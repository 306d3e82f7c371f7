/** The lines of a stream, each with its end; the last has one too. */
export function splitLines(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = []
  for (let start = 0; start < bytes.length; ) {
    const end = bytes.indexOf(10, start)
    lines.push(
      end < 0 ? Buffer.concat([bytes.subarray(start), Buffer.from('\n')]) : bytes.subarray(start, end + 1),
    )
    start = end < 0 ? bytes.length : end + 1
  }
  return lines
}
