with

source as (

    select
        *,
        {{ load_rank('owner_id', '_fivetran_synced') }} as load_rank
    from {{ source('raw_hubspot', 'owner') }}

),

renamed as (

    select
        ---------- ids
        cast(owner_id as {{ dbt.type_string() }}) as owner_id,
        ---------- attributes
        {{ normalised_email('email') }} as email,
        first_name,
        last_name,
        {{ utc_timestamp('_fivetran_synced') }} as loaded_at
    from source
    where
        load_rank = 1
        and owner_id is not null

)

select * from renamed
