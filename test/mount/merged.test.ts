import { describePlaces } from '../support/places.ts'
import { cases } from './cases/merged.ts'

describePlaces(cases, new URL('./cases/merged.ts', import.meta.url), { places: ['merged'], lower: true })
