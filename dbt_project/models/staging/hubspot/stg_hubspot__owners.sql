with

source as (

    select
        *,
        {{ load_rank('owner_id', '_landed_at') }} as load_rank
    from {{ landed('hubspot', 'owner', ['owner_id', 'email', 'first_name', 'last_name'], optional=true) }}

),

renamed as (

    select
        ---------- ids
        cast(owner_id as {{ dbt.type_string() }}) as owner_id,
        ---------- attributes
        {{ normalised_email('email') }} as email,
        first_name,
        last_name,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and owner_id is not null

)

select * from renamed
