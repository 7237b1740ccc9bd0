with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('salesforce', 'user', ['id', 'email', 'first_name', 'last_name'], optional=true) }}

),

renamed as (

    select
        ---------- ids
        id as owner_id,
        ---------- attributes
        {{ normalised_email('email') }} as email,
        first_name,
        last_name,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

)

select * from renamed
