with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('hubspot', 'email_event_bounce', ['id', 'category', 'status'], optional=true) }}

),

renamed as (

    select
        ---------- ids
        id as email_event_id,
        ---------- attributes
        category,
        status as smtp_status,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

)

select * from renamed
