import { describePlaces } from '../support/places.ts'
import { cases } from './cases/errors.ts'

describePlaces(cases, new URL('./cases/errors.ts', import.meta.url))
