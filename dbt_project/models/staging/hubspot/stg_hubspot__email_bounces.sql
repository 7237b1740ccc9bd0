with

source as (

    select
        *,
        {{ load_rank('id', '_fivetran_synced') }} as load_rank
    from {{ source('raw_hubspot', 'email_event_bounce') }}

),

renamed as (

    select
        ---------- ids
        id as email_event_id,
        ---------- attributes
        category,
        status as smtp_status,
        {{ utc_timestamp('_fivetran_synced') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

)

select * from renamed
