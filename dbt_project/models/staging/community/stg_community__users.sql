with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('community', 'users', ['id', 'email', 'name', 'created_at'], optional=true) }}

),

renamed as (

    select
        ---------- ids
        id as community_user_id,
        ---------- attributes
        {{ normalised_email('email') }} as email,
        name as full_name,
        ---------- timestamps
        {{ utc_timestamp('created_at') }} as created_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where {{ not_after_clock('created_at') }}

)

select * from known
