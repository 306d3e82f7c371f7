import { CosmosError } from '../../errors.ts'
import { atMost, type Transformer } from '../transformer.ts'

const MAX_PERCENT = 1000
const MAX_SIDE = 16_384
/** An image is whole in memory: four bytes a pixel. */
const MAX_PIXELS = 64 * 1024 ** 2

/**
 * An image in another size and the same format (package sharp): `50` per cent of each side, `320x` wide, `x240` high,
 * or `320x240` to fit into that. Throws CosmosError ENOSYS where the package has no binary for this machine.
 */
export const scale: Transformer = {
  name: 'scale',
  arguments: 'PERCENT|WIDTHx|xHEIGHT|WIDTHxHEIGHT',
  async transform(bytes, args) {
    atMost('scale', args, 1)
    const { default: sharp } = await loadSharp()
    try {
      const image = sharp(bytes, { limitInputPixels: MAX_PIXELS, animated: true })
      const { width, height, pageHeight } = await image.metadata()
      const [newWidth, newHeight] = sizeOf(args[0] ?? '', width, pageHeight ?? height)
      return await image.resize(newWidth, newHeight, { fit: 'inside' }).toBuffer()
    } catch (error) {
      if (error instanceof CosmosError) throw error
      throw new CosmosError('EILSEQ', 'scale', (error as Error).message.split('\n')[0]!)
    }
  },
}

async function loadSharp(): Promise<typeof import('sharp')> {
  try {
    return await import('sharp')
  } catch {
    throw new CosmosError(
      'ENOSYS',
      'scale',
      'the package sharp is not there for this machine',
      'npm install sharp',
    )
  }
}

function sizeOf(argument: string, width: number, height: number): [number | undefined, number | undefined] {
  const invalid = new CosmosError('EINVAL', `scale ${argument}`, 'is no size: 50, 320x, x240 or 320x240')
  const percent = /^\d{1,4}$/.test(argument) ? Number(argument) : undefined
  if (percent !== undefined) {
    if (percent === 0 || percent > MAX_PERCENT) throw invalid
    return [
      Math.max(1, Math.round((width * percent) / 100)),
      Math.max(1, Math.round((height * percent) / 100)),
    ]
  }
  const [, wide, high] = /^(\d{1,5})?x(\d{1,5})?$/.exec(argument) ?? []
  const sides = [wide, high].map((side) => (side === undefined ? undefined : Number(side)))
  if (
    sides.every((side) => side === undefined) ||
    sides.some((side) => side !== undefined && (side === 0 || side > MAX_SIDE))
  )
    throw invalid
  return [sides[0], sides[1]]
}
