import { describePlaces } from '../support/places.ts'
import { cases } from './cases/xattrs.ts'

describePlaces(cases, new URL('./cases/xattrs.ts', import.meta.url))
