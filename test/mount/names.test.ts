import { describePlaces } from '../support/places.ts'
import { cases } from './cases/names.ts'

describePlaces(cases, new URL('./cases/names.ts', import.meta.url))
