import { describePlaces } from '../support/places.ts'
import { cases } from './cases/entries.ts'

describePlaces(cases, new URL('./cases/entries.ts', import.meta.url))
