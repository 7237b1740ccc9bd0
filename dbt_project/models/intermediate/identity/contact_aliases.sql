{{ config(materialized='view') }}

-- Ids that would stand for a contact if it were known by a newer address alone.
with

links as (

    select * from {{ ref('int_contact_links') }}

),

final as (

    select distinct
        {{ hashed_id(["'contact'", 'email']) }} as alias_id,
        contact_id
    from links
    where
        is_kept
        and contact_id <> {{ hashed_id(["'contact'", 'email']) }}

)

select * from final
